"""Documents become passages: in a process of its own, since a file is whatever somebody sends."""
