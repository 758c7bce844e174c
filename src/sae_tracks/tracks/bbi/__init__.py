"""bigWig, bigBed and .2bit: writers, readers and checks that know only contigs, runs and intervals."""
