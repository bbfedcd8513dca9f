"""What there is: probes behind one Protocol, each answering with ``Device`` records."""
