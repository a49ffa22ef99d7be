// What a receiver that died says of its partial files.
#include "tests/support/resume_place.hpp"
#include "tests/support/scratch_file.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <csignal>
#include <iostream>
#include <random>
#include <sys/resource.h>
#include <thread>
#include <utility>
#include <vector>

using namespace sluice;
using namespace sluice::test;

namespace {

// No file may grow beyond a limit, as on a full disk, while this is in scope.
class FileSizeLimit {
public:
    explicit FileSizeLimit(rlim_t bytes) {
        REQUIRE(::getrlimit(RLIMIT_FSIZE, &before_) == 0);
        std::signal(SIGXFSZ, SIG_IGN);
        const rlimit tight{bytes, before_.rlim_max};
        REQUIRE(::setrlimit(RLIMIT_FSIZE, &tight) == 0);
    }
    ~FileSizeLimit() { ::setrlimit(RLIMIT_FSIZE, &before_); }
    FileSizeLimit(const FileSizeLimit&) = delete;
    FileSizeLimit& operator=(const FileSizeLimit&) = delete;

private:
    rlimit before_{};
};

} // namespace

TEST_CASE("what a resume journal was told comes back") {
    const Place place;
    const std::vector<Step> steps = write_example(place);
    const std::optional<LoadedJournal> loaded = place.load();
    REQUIRE(loaded);
    CHECK((loaded->header == header()));
    CHECK((loaded->files == steps.back().files));
    CHECK(place.directory.list().size() == 1); // nothing temporary stays
    CHECK((place.directory.status(kResumeJournalName).st_mode & 0777) == 0600);
}

TEST_CASE("a resume journal holds the longest paths and any header") {
    const Place place;
    std::string longest;
    while (longest.size() < proto::kMaxPathBytes - 255) {
        longest += std::string(255, 'n') + '/';
    }
    longest.resize(proto::kMaxPathBytes, 'n');
    PartialFile big = file("x", proto::kMaxFileBytes);
    big.path = longest;
    big.stored_path = longest;
    big.pieces = {{0, proto::kMaxFileBytes, some_digest(0)}};
    const JournalHeader full{std::string(kMaxBootIdBytes, 'b'), {}};
    REQUIRE(ResumeJournal::create(place.fd.get(), full, {big}));
    const std::optional<LoadedJournal> loaded = place.load();
    REQUIRE(loaded);
    CHECK((loaded->header == full));
    CHECK((loaded->files == Files{big}));

    const JournalHeader beyond{std::string(kMaxBootIdBytes + 1, 'b'), {}};
    CHECK(ResumeJournal::create(place.fd.get(), beyond, {}).error().error_number == EINVAL);
    CHECK((place.load()->header == full));
    REQUIRE(ResumeJournal::create(place.fd.get(), {}, {}));
    CHECK((place.load()->header == JournalHeader{}));
}

TEST_CASE("files that have ended are gone from a resume journal, however many") {
    const Place place;
    ResumeJournal journal = place.create();
    const PartialFile stays = file("stays", 50);
    const std::uint64_t first = begin(journal, stays);
    for (int i = 0; i < 20'000; ++i) {
        const std::uint64_t number = begin(journal, file(std::to_string(i), 100, 2));
        REQUIRE(journal.end_file(number) == 0);
        REQUIRE(journal.add_piece(number, 50, 10, std::nullopt) == 0); // too late
    }
    CHECK((place.files() == Files{stays}));
    REQUIRE(journal.end_file(first) == 0);
    CHECK(place.files().empty());
}

TEST_CASE("pieces that overlap, are empty, lie beyond the size or belong to no file are ignored") {
    const Place place;
    ResumeJournal journal = place.create();
    PartialFile expected = file("f", 100);
    const std::uint64_t number = begin(journal, expected);
    const auto add = [&](std::uint64_t offset, std::uint64_t length, std::uint64_t to) {
        REQUIRE(journal.add_piece(to, offset, length, std::nullopt) == 0);
    };
    const auto good = [&](std::uint64_t offset, std::uint64_t length) {
        add(offset, length, number);
        expected.pieces.push_back({offset, length, std::nullopt});
    };
    add(0, 10, 0);
    add(0, 10, number + 1);
    add(0, 0, number);
    add(0, 101, number);
    add(100, 1, number);
    add(91, 10, number);
    add(UINT64_MAX, 1, number);
    add(1, UINT64_MAX, number);
    good(20, 10);
    add(20, 10, number);
    add(29, 2, number);
    add(19, 2, number);
    add(22, 3, number);
    add(0, 100, number);
    good(10, 10);
    good(30, 70);
    good(0, 10);
    CHECK((place.files() == Files{expected}));
}

TEST_CASE("a reader of a resume journal forgets the oldest of too many files") {
    const Place place;
    ResumeJournal journal = place.create();
    for (std::size_t i = 0; i < kMaxPartialFiles + 10; ++i) {
        begin(journal, file(std::to_string(i), 100, 1));
    }
    const Files files = place.files();
    REQUIRE(files.size() == kMaxPartialFiles);
    CHECK((files.front() == file("10", 100, 1)));
    CHECK((files.back() == file(std::to_string(kMaxPartialFiles + 9), 100, 1)));
}

TEST_CASE("a reader of a resume journal takes no more pieces than its limits") {
    const Place place;
    Files many;
    for (std::size_t i = 0; i * kMaxPiecesPerFile <= kMaxPiecesInAll; ++i) {
        many.push_back(file(std::to_string(i), UINT64_C(1) << 40, kMaxPiecesPerFile + 2));
    }
    {
        ResumeJournal journal = place.create(many);
        const Files files = place.files();
        REQUIRE(files.size() == many.size());
        std::size_t pieces = 0;
        for (const PartialFile& one : files) {
            CHECK(one.pieces.size() <= kMaxPiecesPerFile);
            pieces += one.pieces.size();
        }
        CHECK(pieces == kMaxPiecesInAll);
        CHECK(files.back().pieces.empty());
        // What a file that ends has taken is free again.
        REQUIRE(journal.end_file(ResumeJournal::carried_number(0)) == 0);
        const std::uint64_t number = begin(journal, file("last", 100));
        REQUIRE(journal.add_piece(number, 0, 10, std::nullopt) == 0);
    }
    CHECK((place.files().back() == file("last", 100, 1)));
}

TEST_CASE("carried-over files survive a new resume journal, and go on under their numbers") {
    const Place place;
    write_example(place);
    Files carried = place.files();
    carried.push_back(file("c", 1000, 7));
    carried.push_back(file("d", 1000, 3));
    ResumeJournal journal = place.create(carried);
    CHECK((place.files() == carried));
    REQUIRE(journal.add_piece(ResumeJournal::carried_number(1), 500, 500, some_digest(5)) == 0);
    REQUIRE(journal.end_file(ResumeJournal::carried_number(2)) == 0);
    begin(journal, file("e", 10));
    carried[1].pieces.push_back({500, 500, some_digest(5)});
    carried[2] = file("e", 10);
    CHECK((place.files() == carried));
    static_cast<void>(place.create());
    CHECK(place.files().empty());
}

TEST_CASE("a resume journal that cannot be made leaves the old one, and nothing temporary") {
    const Place place;
    const std::vector<Step> steps = write_example(place);
    const auto make = [&](const Files& carried) {
        const auto made = ResumeJournal::create(place.fd.get(), header(), carried);
        return made ? 0 : made.error().error_number;
    };
    CHECK(make({file("..", 1), PartialFile{}}) == EINVAL);
    {
        const FileSizeLimit limit(30);
        CHECK(make({}) == EFBIG);
    }
    {
        const FileSizeLimit limit(150);
        CHECK(make({file("a", 100, 10)}) == EFBIG);
    }
    CHECK(ResumeJournal::create(-1, header(), {}).error().error_number == EBADF);
    CHECK((place.files() == steps.back().files));
    CHECK(place.directory.list().size() == 1);

    place.directory.write_file("resume.new", "of a process that died");
    CHECK(make({}) == 0);
    CHECK(place.files().empty());
    CHECK(place.directory.list().size() == 1);
}

TEST_CASE("a failed write breaks a resume journal and hides nothing that was written before") {
    const Place place;
    for (std::size_t room = 0; room < 200; ++room) {
        CAPTURE(room);
        Files expected{file("b", UINT64_C(1) << 40)};
        ResumeJournal journal = place.create();
        begin(journal, expected[0]);
        const rlim_t size = place.bytes().size() + room;
        int error = 0;
        {
            const FileSizeLimit limit(size);
            for (std::uint64_t i = 0; error == 0; ++i) {
                error = journal.add_piece(1, i * 10, 10, some_digest(i));
                if (error == 0) {
                    expected[0].pieces.push_back({i * 10, 10, some_digest(i)});
                }
            }
        }
        CHECK(error == EFBIG);
        // There is room again, but what was torn off is in the way.
        CHECK(journal.add_piece(1, 5000, 10, std::nullopt) == EFBIG);
        CHECK(journal.end_file(1) == EFBIG);
        CHECK(journal.begin_file(file("c", 1)).error().error_number == EFBIG);
        CHECK(place.bytes().size() == size);
        REQUIRE((place.files() == expected));
    }
}

TEST_CASE("appends to a resume journal from several threads are all there") {
    const Place place;
    ResumeJournal journal = place.create();
    constexpr std::uint64_t kPieces = 500;
    std::vector<std::thread> threads;
    threads.reserve(4);
    for (int thread = 0; thread < 4; ++thread) {
        threads.emplace_back([&journal, thread] {
            const auto name = std::to_string(thread);
            const std::uint64_t mine = journal.begin_file(file(name, 10 * kPieces)).value();
            for (std::uint64_t i = 0; i < kPieces; ++i) {
                static_cast<void>(journal.add_piece(mine, i * 10, 10, std::nullopt));
                const auto other = journal.begin_file(file(name + "-brief", 10, 1));
                static_cast<void>(journal.end_file(other.value()));
            }
        });
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    Files files = place.files();
    REQUIRE(files.size() == 4);
    std::sort(files.begin(), files.end(),
              [](const PartialFile& a, const PartialFile& b) { return a.path < b.path; });
    for (std::size_t i = 0; i < 4; ++i) {
        CHECK((files[i] == file(std::to_string(i), 10 * kPieces, kPieces)));
    }
}

TEST_CASE("the boot id is the same twice and fits into a header") {
    CHECK(current_boot_id() == current_boot_id());
    CHECK(current_boot_id().size() <= kMaxBootIdBytes);
    CHECK(current_boot_id().find('\n') == std::string::npos);
}

namespace {

// What a journal should say, byte by byte.
struct Model {
    struct Open {
        std::uint64_t number;
        PartialFile file;
        std::vector<bool> bytes;
    };
    std::vector<Open> open;

    void begin(std::uint64_t number, const PartialFile& file) {
        open.push_back({number, file, std::vector<bool>(file.size, false)});
        for (const PartialFile::Piece& piece : std::exchange(open.back().file.pieces, {})) {
            add(number, piece);
        }
    }
    void add(std::uint64_t number, const PartialFile::Piece& piece) {
        for (Open& one : open) {
            if (one.number != number || piece.length == 0 || piece.offset > one.file.size ||
                piece.length > one.file.size - piece.offset) {
                continue;
            }
            const auto first = one.bytes.begin() + static_cast<std::ptrdiff_t>(piece.offset);
            const auto last = first + static_cast<std::ptrdiff_t>(piece.length);
            if (std::find(first, last, true) == last) {
                std::fill(first, last, true);
                one.file.pieces.push_back(piece);
            }
        }
    }
    void end(std::uint64_t number) {
        std::erase_if(open, [number](const Open& one) { return one.number == number; });
    }
    [[nodiscard]] Files files() const {
        Files result;
        for (const Open& one : open) {
            result.push_back(one.file);
        }
        return result;
    }
};

PartialFile::Piece random_piece(std::mt19937_64& random, std::uint64_t size) {
    PartialFile::Piece piece{random() % (size + 2), random() % 12, std::nullopt};
    if (random() % 20 == 0) {
        (random() % 2 == 0 ? piece.offset : piece.length) = UINT64_MAX - random() % 3;
    }
    if (random() % 2 == 0) {
        piece.digest = some_digest(random());
    }
    return piece;
}

PartialFile random_file(std::mt19937_64& random) {
    PartialFile made = file(std::to_string(random() % 50), random() % 80);
    made.path += std::string(random() % 200, 'x');
    made.mtime = {static_cast<std::int64_t>(random()),
                  static_cast<std::uint32_t>(random() % 1'000'000'000)};
    made.version = random();
    made.staged = random() % 2 == 0;
    for (std::uint64_t i = random() % 4; i > 0; --i) {
        made.pieces.push_back(random_piece(random, made.size));
    }
    return made;
}

} // namespace

TEST_CASE("random appends to a resume journal say what a model says, across sessions") {
    const std::uint64_t seed = test_seed();
    std::cout << "SLUICE_TEST_SEED=" << seed << '\n';
    std::mt19937_64 random(seed);
    for (int round = 0; round < 20; ++round) {
        const Place place;
        Model model;
        for (int session = 0; session < 4; ++session) {
            ResumeJournal journal = place.create(model.files());
            for (std::size_t i = 0; i < model.open.size(); ++i) {
                model.open[i].number = ResumeJournal::carried_number(i);
            }
            for (int step = 0; step < 300; ++step) {
                const std::uint64_t number = random() % (model.open.size() + 30);
                if (random() % 8 == 0) {
                    const PartialFile begun = random_file(random);
                    model.begin(begin(journal, begun), begun);
                } else if (random() % 8 == 0) {
                    REQUIRE(journal.end_file(number) == 0);
                    model.end(number);
                } else {
                    const PartialFile::Piece piece = random_piece(random, 80);
                    REQUIRE(journal.add_piece(number, piece.offset, piece.length, piece.digest) ==
                            0);
                    model.add(number, piece);
                }
            }
            REQUIRE((place.files() == model.files()));
        }
    }
}
