"""What is timed for the report, with the benchmark's events: fewer cells and seconds, so that all fits."""

from collections.abc import Iterator, Sequence

from jaxchar.benchmark import events
from jaxchar.benchmark.baselines import IMPLEMENTATIONS, KNOWN, UNROLLS, baselines_named
from jaxchar.benchmark.cells import READING, WRITING, Cell, cells_named, dtypes_on
from jaxchar.benchmark.report.clock import NO_TIME, Clock
from jaxchar.benchmark.report.sections import Row
from jaxchar.benchmark.worker import JUDGE
from jaxchar.benchmark.workers import worker_command, workers

SECONDS = 0.5  # for each baseline in each event
# What says most comes first: there may be no time for the rest.
RACED = ("words_generator", "shakespeare", "many_short_128", "large_batch_512", "char_rnn", "one_layer_1024")
VARIED = ("words_generator", "shakespeare", "two_layers_512")
UNROLLED = ("words_generator", "shakespeare", "large_batch_512")


def race(platform: str, clock: Clock) -> Iterator[Row]:
    """Yield an event for each cell and dtype: jaxchar and all other libraries that are installed."""
    plan = plan_of(platform, ("jaxchar", *others(platform)), RACED)
    for (cell, dtype), fits in clock.in_time(each(plan.cells, plan.dtypes)):
        # The peak only decides whether calls of one step are worth a row, and there are none here.
        yield events.training(cell, dtype, plan, float("inf")) if fits else not_begun(cell, dtype)


def implementations(platform: str, clock: Clock) -> Iterator[Row]:
    """Yield an event for each cell and dtype: every implementation of the recurrence."""
    plan = plan_of(platform, tuple(f"jaxchar-{name}" for name in IMPLEMENTATIONS), VARIED)
    yield from variants(plan, plan.dtypes, clock)


def unrolls(platform: str, clock: Clock) -> Iterator[Row]:
    """Yield an event for each cell, in float32: the loop over time with some steps compiled as one."""
    plan = plan_of(platform, tuple(f"jaxchar-unroll-{number}" for number in UNROLLS), UNROLLED)
    yield from variants(plan, plan.dtypes[:1], clock)


def writing(platform: str, clock: Clock) -> Iterator[Row]:
    """Yield an event for each way of writing and of reading, with "what" for which of them it is."""
    names = tuple(name for name in ("jaxchar", *others(platform)) if not KNOWN[name].options)
    plan = plan_of(platform, names, ())
    with workers({name: worker_command(name) for name in names}, platform) as started:
        events.Field(started)  # they import their libraries, which is no event's time
        asked = [("write", cell) for cell in WRITING] + [("read", cell) for cell in READING]
        for (what, cell), fits in clock.in_time(asked):
            if fits:
                yield {"what": what} | events.using(what, cell, plan, started)
            else:
                yield {"what": what, "cell": cell.to_json(), "left_out": NO_TIME}


def others(platform: str) -> tuple[str, ...]:
    """Return the libraries that jaxchar is raced against on a platform."""
    return tuple(name for name in baselines_named(None, platform != "cpu") if not KNOWN[name].is_ours)


def plan_of(platform: str, names: Sequence[str], cells: Sequence[str]) -> events.Plan:
    """Return a plan of those of the cells that fit the platform, in the order given."""
    fitting = {cell.name for cell in cells_named(None, platform != "cpu")}
    chosen = cells_named(tuple(name for name in cells if name in fitting), True)
    return events.Plan(chosen, dtypes_on(platform), tuple(names), SECONDS, 1, False, platform)


def variants(plan: events.Plan, dtypes: Sequence[str], clock: Clock) -> Iterator[Row]:
    """Yield an event for each cell and dtype, all in the same processes, which take long to start."""
    with workers({name: worker_command(name) for name in (JUDGE, *plan.names)}, plan.platform) as started:
        events.Field(started)  # they import their libraries, which is no event's time
        for (cell, dtype), fits in clock.in_time(each(plan.cells, dtypes)):
            if fits:
                found = events.compared(cell, dtype, started, plan.seconds, again=True)
                yield events.with_ratios(found)
            else:
                yield not_begun(cell, dtype)


def each(cells: Sequence[Cell], dtypes: Sequence[str]) -> list[tuple[Cell, str]]:
    """Return every cell in every dtype."""
    return [(cell, dtype) for cell in cells for dtype in dtypes]


def not_begun(cell: Cell, dtype: str) -> Row:
    """Return the row of an event for which there was no time."""
    return {"cell": cell.to_json(), "dtype": dtype, "left_out": NO_TIME}
