"""What measures and reproduces: speeds, and the figures of the P4Inv paper."""
