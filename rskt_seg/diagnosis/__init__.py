"""What is wrong with the installation of a user: findings, each a function of what was seen of the machine.

Nothing here imports a library that could be broken, PyYAML aside; `rskt_seg.commands.doctor_probes` does, in
processes of its own.
"""

from rskt_seg.diagnosis.environment import NOTE, OK, PROBLEM, Environment, Finding, Outcome
from rskt_seg.diagnosis.findings import diagnose, versions

__all__ = ["NOTE", "OK", "PROBLEM", "Environment", "Finding", "Outcome", "diagnose", "versions"]
