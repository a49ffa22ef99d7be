#include "receiver/key_setup.hpp"

#include "common/key_file.hpp"
#include "common/log.hpp"
#include "common/text.hpp"
#include "receiver/key_ring.hpp"
#include "receiver/privileges.hpp"

#include <fmt/format.h>
#include <optional>
#include <utility>

namespace sluice {

Status set_up_keys(ReceiverCommand& command) {
    ReceiverOptions& options = command.options;
    const KeyFileChoice choice = choose_key_file(command.key_file);
    if (!choice.path.empty()) {
        std::optional<gid_t> lent_to; // who is to read it again
        if (!options.user.empty()) {
            const Result<UserIdentity> reader = find_user(options.user);
            if (!reader) {
                return reader.error();
            }
            lent_to = reader->user == 0 ? lent_to : reader->group;
        }
        Result<std::unique_ptr<KeyRing>> keys = KeyRing::load(choice.path, lent_to);
        if (!keys) {
            return std::move(keys).error();
        }
        options.keys = std::move(*keys);
        Result<std::unique_ptr<TlsContext>> tls = TlsContext::for_receiver(
            [ring = options.keys](const KeyIdentity& identity) { return ring->find(identity); });
        if (!tls) {
            return std::move(tls).error();
        }
        options.tls = std::move(*tls);
        log_verbose(fmt::format("{} key(s) from {} ({})", options.keys->size(),
                                shown_path(choice.path), choice.why));
    }
    const Result<Security> level = choose_security(command.security, options.keys != nullptr);
    if (!level) {
        return level.error();
    }
    options.least_security = *level;
    return ok();
}

Result<std::string> generate_key(const std::string& file) {
    Result<std::string> print = generate_key_file(file);
    if (!print) {
        return std::move(print).error();
    }
    const std::string name = shown_path(file);
    return fmt::format("{0}: a new key, {1}\n"
                       "Copy the file to the sender in a way that nobody else can read, with mode "
                       "600. Then:\n"
                       "  sluice-recv --key-file {0} --listen ADDR DIRECTORY\n"
                       "  sluice-send --key-file {0} SOURCE... HOST:[PATH]\n",
                       name, *print);
}

} // namespace sluice
