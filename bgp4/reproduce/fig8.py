"""Figure 8: P4Inv trained through its layers' inverse, in the plane and towards a rotation."""
