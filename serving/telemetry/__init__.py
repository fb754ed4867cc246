"""What Rollcall tells Prometheus: the metrics, where each process counts, and how a node answers a scrape.

Counting touches a file that this process alone writes and has mapped into memory: no call to another
process, and nothing lost when it is killed. Whoever answers a scrape adds up the files of all processes of
the node. docs/metrics.md lists the metrics and says how to read them.
"""
