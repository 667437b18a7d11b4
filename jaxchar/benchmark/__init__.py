"""The benchmark: jaxchar beside other ways to do the same work on the same machine.

Every contender runs in a process of its own (:mod:`jaxchar.benchmark.worker`), shows first that it does the
same work (:mod:`jaxchar.benchmark.same_work`), and takes turns with the others
(:mod:`jaxchar.benchmark.race`), so that whatever else the machine is busy with meets all of them alike.
"""
