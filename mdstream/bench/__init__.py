"""The load test of the whole service: what operators run before they buy machines.

``profiles`` says what is offered, ``runner`` and ``measure`` do it with the processes of ``load``, ``publish`` and ``relay``
(each a shell around ``mdstream._bench``), ``results`` is what came of it, ``report``, ``compare`` and ``capacity`` what it means.
"""
