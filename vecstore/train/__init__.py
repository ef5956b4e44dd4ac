"""Tables inside training loops of other people; what needs torch is in `vecstore.train.torch` alone."""
