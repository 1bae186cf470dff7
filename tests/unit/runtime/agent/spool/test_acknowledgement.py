from __future__ import annotations

import pytest

from edgemm.messages import Stream, StreamAck
from edgemm_runtime.agent.spool.acknowledgement import credible

THIS, EARLIER = "a" * 16, "b" * 16
SENT = {Stream.EVENT: 2, Stream.TELEMETRY: 90}


@pytest.mark.parametrize(
    ("boot", "stream", "sequence", "believed"),
    [
        pytest.param(THIS, Stream.TELEMETRY, 90, True, id="all that was sent"),
        pytest.param(THIS, Stream.TELEMETRY, 0, True, id="nothing yet"),
        pytest.param(THIS, Stream.TELEMETRY, 91, False, id="one more than was sent"),
        pytest.param(THIS, Stream.EVENT, 3, False, id="a number of the other stream"),
        pytest.param(THIS, Stream("trace"), 1, False, id="a stream of a later version"),
        pytest.param(EARLIER, Stream("trace"), 1, False, id="the same of an earlier start"),
        pytest.param(EARLIER, Stream.EVENT, 500, True, id="an earlier start, of which the fleet may know more"),
    ],
)
def test_what_can_be_true_is_believed(boot: str, stream: Stream, sequence: int, *, believed: bool) -> None:
    ack = StreamAck(boot=boot, stream=stream, sequence=sequence)
    assert credible([ack], boot=THIS, sent=SENT) == ((ack,) if believed else ())


def test_one_that_cannot_be_true_costs_none_of_the_others() -> None:
    good = StreamAck(boot=THIS, stream=Stream.EVENT, sequence=2)
    bad = StreamAck(boot=THIS, stream=Stream.TELEMETRY, sequence=2**53 - 1)
    assert credible([bad, good], boot=THIS, sent=SENT) == (good,)
