#!/bin/sh
# PBS and LSF as far as profiles/pbs and profiles/lsf speak with them, by the name this is called by. Jobs run on this
# machine. Below $QUEUE: what each was submitted with, its output, how it ended. The first job that asks for a GPU is
# killed, as by a queue whose limit it passed.
set -eu
tell() { # how a job ended, nothing if it works
    cat "$QUEUE/${1%%.*}.end" 2>/dev/null || true
}
case $(basename "$0") in
qsub | bsub)
    for script; do :; done
    number=1
    while ! mkdir "$QUEUE/$number" 2>/dev/null; do number=$((number + 1)); done
    echo "$*" >"$QUEUE/$number.submitted"
    case "$*" in
    *ngpus=1* | *num=1*) mkdir "$QUEUE/killed" 2>/dev/null && echo 271 >"$QUEUE/$number.end" ;;
    esac
    if [ ! -e "$QUEUE/$number.end" ]; then
        (
            sh "$script" >"$QUEUE/$number.output" 2>&1 && end=0 || end=$?
            echo $end >"$QUEUE/$number.end"
        ) </dev/null >/dev/null 2>&1 &
    fi
    [ "$(basename "$0")" = qsub ] && echo "$number.here" || echo "Job <$number> is submitted to queue <normal>."
    ;;
qstat)
    for job; do :; done
    end=$(tell "$job")
    [ -z "$end" ] && echo "    job_state = R" || printf '    job_state = F\n    Exit_status = %s\n' "$end"
    ;;
bjobs)
    for job; do :; done
    case $(tell "$job") in "") echo RUN ;; 0) echo DONE ;; *) echo EXIT ;; esac
    ;;
esac
