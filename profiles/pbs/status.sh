#!/bin/sh
# State of one PBS job, in Snakemake's words: running, success or failed.
reply=$(qstat -x -f "$1" 2>&1)
case $reply in
*"Exit_status = 0"*) echo success ;;
*"job_state = F"* | *"Unknown Job"*) echo failed ;; # the second: forgotten, and nobody knows how it ended
*) echo running ;; # queued, held, at work; or the server does not answer, and is asked again
esac
