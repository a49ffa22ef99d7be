"""The network benchmark behind scripts/bench.

cli        the command line
suites     what the named suites measure; sweep: what a free sweep measures
runner     runs the cases of a group interleaved, and compares what arrived
tools      sluice and the references; peers: other programs; crowd: many senders, limited senders
sources    what is sent; targets: where it lands; lab: over which network
system     processes, ports, memory and cleaning up
model      what comes out; stats, units, table, charts and report show it
"""
