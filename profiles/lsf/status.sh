#!/bin/sh
# State of one LSF job, in Snakemake's words: running, success or failed.
reply=$(bjobs -noheader -o stat "$1" 2>&1)
case $reply in
DONE*) echo success ;;
EXIT* | ZOMBI* | *"is not found"*) echo failed ;; # the last: forgotten, and nobody knows how it ended
*) echo running ;; # waiting, suspended, at work; or LSF does not answer, and is asked again
esac
