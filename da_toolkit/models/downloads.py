"""Downloads that tell within seconds that there is no network, instead of trying again for a minute."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quick_to_fail() -> Iterator[None]:
    """Within it, a model hub that does not answer is not asked: huggingface_hub then has its cache alone.

    As if HF_HUB_OFFLINE was set, which is heeded too. HF_HUB_ETAG_TIMEOUT says how many seconds the hub has (10), and
    HF_ENDPOINT which one it is. Other hosts have the same time for an answer.
    """
    from huggingface_hub import constants, get_session

    offline, timeout = constants.HF_HUB_OFFLINE, socket.getdefaulttimeout()
    seconds = constants.HF_HUB_ETAG_TIMEOUT
    try:
        if not offline:
            try:
                answers = get_session().head(constants.ENDPOINT, timeout=seconds).status_code < 500
            except Exception:  # of whichever client the library uses; all mean "no answer"
                answers = False
            constants.HF_HUB_OFFLINE = not answers
        socket.setdefaulttimeout(seconds)
        yield
    finally:
        constants.HF_HUB_OFFLINE = offline
        socket.setdefaulttimeout(timeout)
