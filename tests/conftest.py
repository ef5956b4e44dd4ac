"""What all tests have: interruptions that arrive."""

import signal

# A shell has what it starts in the background ignore them, and so would all that tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
