# shellcheck disable=SC2154 # variables of ma2l-entrypoint
# Runs the steps in a session of their own, shows what they print, and ends them when it is time to.

# usage: ma2l_open_log
# Sets ma2l_log to a new file for the steps' output in the log directory, and makes $ma2l_dir/output lead to it.
# Output goes to a file, never a pipe: a background child of a hook could hold a pipe open for ever.
ma2l_open_log() {
	ma2l_log=''
	if [ -n "$ma2l_hooks" ]; then
		ma2l_choose_log_dir
		ma2l_choose_log_name
		ma2l_say "running before the start: $ma2l_hooks${ma2l_log:+ (output also in $ma2l_log)}"
	fi
	if [ -n "$ma2l_log" ]; then ln -s "$ma2l_log" "$ma2l_dir/output"; else : >"$ma2l_dir/output"; fi
	: >"$ma2l_dir/results"
}

# usage: ma2l_choose_log_dir
# Sets ma2l_log_dir: the platform's or the user's, or a temporary one if that cannot be written.
ma2l_choose_log_dir() {
	ma2l_mount_log=${MA_MOUNT_PATH:+$MA_MOUNT_PATH/log}
	ma2l_platform_log=${MA_LOG_DIR:-${BATCH_TASK_LOG_PATH:-$ma2l_mount_log}}
	ma2l_log_dir=$(ma2l_absolute "${MA2L_LOG_DIR:-${ma2l_platform_log:-ma2l-log}}")
	if ! { mkdir -p "$ma2l_log_dir" && [ -w "$ma2l_log_dir" ]; } 2>/dev/null; then
		ma2l_warn "the log directory $ma2l_log_dir cannot be written; the hook's output goes to ${ma2l_dir%/*}/ma2l-log"
		ma2l_log_dir=${ma2l_dir%/*}/ma2l-log
		mkdir -p "$ma2l_log_dir" 2>/dev/null
	fi
}

# usage: ma2l_choose_log_name
# Sets ma2l_log to a name that no earlier start has used. ModelArts' collector takes *.log, so it is *.txt there.
ma2l_choose_log_name() {
	ma2l_node=${VC_TASK_INDEX:-${DLS_TASK_INDEX:-0}}
	ma2l_stem=$ma2l_log_dir/node${ma2l_node##*/}.pre-start
	ma2l_ending=log
	[ -n "${MA2L_LOG_DIR:-}" ] || [ -z "$ma2l_platform_log" ] || ma2l_ending=txt
	ma2l_attempt=1
	ma2l_log=$ma2l_stem.$ma2l_ending
	until (set -C && : >"$ma2l_log") 2>/dev/null; do
		if [ ! -e "$ma2l_log" ]; then # unwritable after all: the console must do
			ma2l_log=''
			return
		fi
		ma2l_attempt=$((ma2l_attempt + 1))
		ma2l_log=$ma2l_stem.attempt$ma2l_attempt.$ma2l_ending
	done
}

# usage: ma2l_run_steps
# Returns when the steps have ended or their time is over; a stop signal ends them and this shell.
ma2l_run_steps() {
	ma2l_shell=$(command -v bash) || ma2l_shell=$(command -v sh)
	ma2l_cwd=${MA_JOB_DIR:-}
	[ -d "$ma2l_cwd" ] || ma2l_cwd=$(pwd)
	printf '%s' "${LD_PRELOAD:-}" >"$ma2l_dir/preload"
	exec 5<"$ma2l_dir/output"
	ma2l_start_helpers
	ma2l_stopped='' ma2l_leader=''
	for ma2l_signal in 1 2 3 15; do
		# shellcheck disable=SC2064 # the number is meant
		trap "ma2l_on_signal $ma2l_signal" "$ma2l_signal"
	done
	ma2l_session "$ma2l_shell" "$ma2l_home/step.sh" "$ma2l_dir" "$ma2l_cwd" "$ma2l_shell" </dev/null >>"$ma2l_dir/output" 2>&1 5<&- &
	ma2l_leader=$!
	echo "$ma2l_leader" >"$ma2l_dir/leader"
	[ -n "$ma2l_stopped" ] || wait "$ma2l_leader" 2>/dev/null
	ma2l_leader_code=$?
	[ -z "$ma2l_stopped" ] || ma2l_stop
	ma2l_end_helpers
	trap - 1 2 3 15
}

# usage: ma2l_session PROGRAM ARGUMENT...
# Becomes PROGRAM, leader of a new session: one signal to its group then reaches everything a hook has started.
ma2l_session() {
	export MA2L_BOOT_DIR="$ma2l_boot_dir" MA2L_PRE_START_STRICT="${MA2L_PRE_START_STRICT:-0}"
	unset LD_PRELOAD
	if command -v setsid >/dev/null; then
		exec setsid "$@"
	fi
	exec "$ma2l_python" -I -S -c 'import os, sys; os.setsid(); os.execv(sys.argv[1], sys.argv[1:])' "$@"
}

# usage: ma2l_start_helpers
# Before this shell sets traps: a child of dash runs its parent's, if the signal comes before it has cleared them.
ma2l_start_helpers() {
	ma2l_follow &
	ma2l_follower=$!
	ma2l_watch >/dev/null 2>&1 5<&- &
	ma2l_watchdog=$!
}

# usage: ma2l_show
# Copies to standard error what has been printed since the last time: all who read descriptor 5 share its offset. A
# console that takes nothing is not waited for.
ma2l_show() {
	if command -v timeout >/dev/null; then
		timeout -s KILL 5 cat <&5 >&2 2>/dev/null
	else
		cat <&5 >&2 2>/dev/null
	fi
}

# usage: ma2l_follow
# Shows the output every second until told to end.
ma2l_follow() {
	ma2l_over='' ma2l_sleeper=''
	trap 'ma2l_over=1; [ -z "$ma2l_sleeper" ] || kill "$ma2l_sleeper" 2>/dev/null' TERM
	while [ -z "$ma2l_over" ] && kill -0 "$$" 2>/dev/null; do
		ma2l_show
		[ -z "$ma2l_over" ] || break
		sleep 1 2>/dev/null 5<&- &
		ma2l_sleeper=$!
		wait "$ma2l_sleeper" 2>/dev/null
	done
	wait # a signal ends the wait before, and a zombie would be left to a command that is PID 1
}

# usage: ma2l_watch
# Ends the steps when their time is over.
ma2l_watch() {
	ma2l_sleep "${MA2L_PRE_START_TIMEOUT:-1800}"
	: >"$ma2l_dir/timed-out"
	read -r ma2l_leader <"$ma2l_dir/leader"
	ma2l_end_steps 50
}

# usage: ma2l_sleep SECONDS
# Only in a background shell: sleeps, and ends that shell and the sleep on SIGTERM.
ma2l_sleep() {
	ma2l_sleeper=''
	trap '[ -z "$ma2l_sleeper" ] || kill "$ma2l_sleeper"; wait; exit' TERM
	sleep "$1" &
	ma2l_sleeper=$!
	wait "$ma2l_sleeper"
	trap - TERM
}

# usage: ma2l_end_steps TENTHS
# SIGTERM to the steps' session, SIGKILL to what is left of it after so many tenths of a second. The file `ended` keeps
# a shell that bash lets run its EXIT trap now from starting the next step.
ma2l_end_steps() {
	: >"$ma2l_dir/ended"
	kill -TERM "-$ma2l_leader" || kill -TERM "$ma2l_leader" # not yet a session
	ma2l_tenths=0
	while [ "$ma2l_tenths" -lt "$1" ] && kill -0 "-$ma2l_leader"; do
		sleep 0.1 || ma2l_tenths=$1
		ma2l_tenths=$((ma2l_tenths + 1))
	done
	kill -KILL "-$ma2l_leader"
} 2>/dev/null

# usage: ma2l_end_helpers
# And shows the rest of the output. A watchdog that has begun its work finishes it.
ma2l_end_helpers() {
	[ -e "$ma2l_dir/timed-out" ] || kill "$ma2l_watchdog" 2>/dev/null
	kill "$ma2l_follower" 2>/dev/null
	wait "$ma2l_watchdog" "$ma2l_follower" 2>/dev/null
	ma2l_show
	exec 5<&-
}

# usage: ma2l_on_signal SIGNAL
# Only notes it and ends the leader, which ends `wait`: dash runs no traps in a child that was started by one.
ma2l_on_signal() {
	ma2l_stopped=${ma2l_stopped:-$1}
	: >"$ma2l_dir/ended"
	[ -z "$ma2l_leader" ] || kill -TERM "$ma2l_leader" 2>/dev/null
}

# usage: ma2l_stop
# After a stop signal: ends the steps within a second and leaves as the signal demands.
ma2l_stop() {
	ma2l_say "stopped by signal $ma2l_stopped before the start"
	wait "$ma2l_leader" 2>/dev/null
	ma2l_end_steps 7
	ma2l_end_helpers
	ma2l_clean_up
	exit "$((128 + ma2l_stopped))"
}

# usage: ma2l_judge_steps
# Says what went wrong; with MA2L_PRE_START_STRICT=1 leaves with the first failing hook's code.
ma2l_judge_steps() {
	if [ -e "$ma2l_dir/timed-out" ]; then
		ma2l_failed 203 "the steps before the start took longer than MA2L_PRE_START_TIMEOUT=${MA2L_PRE_START_TIMEOUT:-1800} s and were ended"
	elif ! grep -q '^all ' "$ma2l_dir/results" 2>/dev/null; then
		ma2l_failed "$ma2l_leader_code" 'the steps before the start were killed'
	fi
	while read -r ma2l_outcome ma2l_number ma2l_code; do
		case $ma2l_outcome-$ma2l_code in
			all-* | done-0) ;;
			*) ma2l_judge_step "$ma2l_outcome" "$(sed -n "${ma2l_number}p" "$ma2l_dir/steps")" "$ma2l_code" ;;
		esac
	done <"$ma2l_dir/results"
	[ -z "$ma2l_hooks" ] || ma2l_set MA2L_PRE_START_DONE "${MA2L_PRE_START_DONE:+$MA2L_PRE_START_DONE:}$ma2l_hooks"
}

# usage: ma2l_judge_step done|lost STEP CODE
ma2l_judge_step() {
	case $1-$3-$2 in
		done-*-env\ *) ;;
		done-*) ma2l_failed "$3" "${2#* } ended with code $3" ;;
		lost-0-*) ma2l_warn "${2#* } replaced its shell (exec): what it exported is lost" ;;
		*) ma2l_failed "$3" "${2#* } replaced its shell (exec) or was killed, code $3; what it exported is lost" ;;
	esac
}

# usage: ma2l_failed CODE TEXT
ma2l_failed() {
	[ "${MA2L_PRE_START_STRICT:-0}" = 0 ] || ma2l_die "$1" "cannot start: $2; MA2L_PRE_START_STRICT=1 forbids to go on"
	ma2l_warn "$2; going on (MA2L_PRE_START_STRICT=1 would stop here)"
}
