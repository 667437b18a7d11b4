"""The report on an accelerator: tests, correctness, speed and memory in one command, on one page.

``python -m jaxchar.benchmark.report``, or ``make accelerator-report``. Each section runs in a process of its
own (:mod:`jaxchar.benchmark.report.measure`) with a time limit (:mod:`jaxchar.benchmark.report.sections`). On
a machine without an accelerator the same sections run on its processor.
"""
