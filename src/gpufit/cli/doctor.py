"""``gpufit doctor``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from gpufit.cli.output import screen, write_json, write_lines

if TYPE_CHECKING:
    from gpufit.cli import options


def run(as_json: options.Json = False) -> int:
    """Print all that explains gpufit's answers on this machine, to paste into a bug report; tokens are taken out.

    Every probe is asked, and each has two seconds. Exits with 0 once the report is complete, whatever it says.
    """
    from gpufit.devices.report import make_report
    from gpufit.render.doctor import doctor_to_dict, render_doctor

    report = make_report(os.environ)
    if as_json:
        write_json(doctor_to_dict(report, os.environ))
    else:
        write_lines(render_doctor(report, os.environ, screen().width))
    return 0
