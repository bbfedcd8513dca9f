"""IS IT TRUE: the real model on the real device, in a child process, held beside the estimate."""
