"""For tests of programs that use Antiphon: a clock to move, quiet to wait for, probes.

Product code never imports this. The suite that every store must pass is in
``antiphon.testing.store_contract``.
"""

from antiphon.testing.clock import ManualClock, ManualTimer
from antiphon.testing.leaks import assert_no_leaks, manual_system
from antiphon.testing.probe import Probe
from antiphon.testing.settle import NotQuiet, advance, settle

__all__ = [
    "ManualClock",
    "ManualTimer",
    "NotQuiet",
    "Probe",
    "advance",
    "assert_no_leaks",
    "manual_system",
    "settle",
]
