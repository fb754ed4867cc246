"""`make machines-check`: docs/machines.md followed by a program, on machines that are namespaces.

`page` reads the page's blocks, `machines` boots the machines, `__main__` runs the blocks on them and asks for
more.
"""
