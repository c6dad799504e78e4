"""The compiled half of ``mdstream bench``: subscribers, a publisher, and the C floor to compare with.

Each is an epoll loop that runs without the interpreter's lock, in a process of its own. Sources in ``ext/mdstream/_bench``.
Import from the module, not from here.
"""
