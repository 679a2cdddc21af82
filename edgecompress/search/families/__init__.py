"""Architecture families of the search space, one file each: KNOBS and build()."""
