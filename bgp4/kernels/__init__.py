"""C++ kernels: how they are compiled and loaded, and what each computes."""
