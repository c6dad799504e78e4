"""The compiled half of ``mdstream bench``: subscribers, a publisher, and the floor for comparison.

Each is an epoll loop without the interpreter's lock, in its own process. The sources are in ``ext/mdstream/_bench``.
Import from the modules, not from here.
"""
