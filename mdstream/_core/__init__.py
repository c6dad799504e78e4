"""The compiled core: books, change logs, views, encoders, decoder and fan-out.

Each module is one extension, its source in ``ext/mdstream/_core``. Import from the module, not from here.
"""
