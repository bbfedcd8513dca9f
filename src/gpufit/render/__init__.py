"""Say it: records in, text or JSON-ready dictionaries out. Pure; nothing here reads files, devices or the clock."""
