"""What it needs: a workload on an architecture becomes a breakdown in bytes. Pure arithmetic."""
