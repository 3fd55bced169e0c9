from headhunt.trainables.card.memory import MemoryLog


def test_the_peak_is_told_by_part_and_each_storage_is_rounded_up():
    log = MemoryLog()
    parameter, state = log.add(1000), log.add(512)
    passing = log.add(100)
    log.free(passing)
    gradient = log.add(1000)
    log.tell([parameter], "parameters")
    log.tell([state], "optimiser")
    log.tell([gradient], "gradients")

    parts = log.at_peak()

    assert (parts.parameters, parts.gradients, parts.optimiser) == (1000, 1000, 512)
    assert parts.activations == 0
    assert parts.exact == 2512
    assert parts.peak == 1024 + 1024 + 512


def test_what_came_before_the_start_counts_while_it_lives_and_its_peak_does_not():
    log = MemoryLog()
    log.free(log.add(10_000))
    log.add(512)
    begin = len(log.events)
    log.add(1024)

    assert log.at_peak(begin).peak == 1536


def test_what_an_operation_holds_for_itself_is_part_of_the_peak():
    log = MemoryLog()
    log.add(512)
    log.pass_through(2048)

    assert log.at_peak().activations == 2560


def test_a_stretch_that_repeats_is_as_many_events_after_one_another():
    once, written_out = MemoryLog(), MemoryLog()
    for log, times in ((once, 3), (written_out, 1)):
        held = log.add(900)
        log.repeat(times)
        for _ in range(3 // times):
            log.free(log.add(5000))
            log.free(held)
            held = log.add(900)
            gradient = log.add(100)
            log.tell([gradient], "gradients")
        log.repeat(1)
        log.add(4000)

    assert once.at_peak() == written_out.at_peak()
    assert once.at_peak().gradients == 200  # in the last round, before its own


def test_gradients_of_a_stretch_are_freed_together():
    log = MemoryLog()
    log.repeat(5)
    gradient = log.add(512)
    log.tell([gradient], "gradients")
    log.repeat(1)
    log.free(gradient)
    begin = len(log.events)
    log.add(1024)

    assert log.at_peak(begin).peak == 1024
