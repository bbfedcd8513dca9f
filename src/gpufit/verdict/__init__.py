"""Does it fit: budget, judgement, advice. Pure; it sees records, never devices or files."""
