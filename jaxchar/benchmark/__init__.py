"""The benchmark: jaxchar beside other libraries that do the same work on the same machine.

Each of them runs in its own process (:mod:`jaxchar.benchmark.worker`) and first shows that it does the same
work (:mod:`jaxchar.benchmark.same_work`). Then all take turns (:mod:`jaxchar.benchmark.race`), so that other
work on the machine slows all of them down alike.
"""
