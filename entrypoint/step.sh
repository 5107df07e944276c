# One step before the start, then all that follow: each in a shell of its own with the environment that the one before
# has left, so that `exit`, traps, options, functions and the working directory of one reach no other.
#
# Runs under bash where there is one, because real hooks are written for it, else under sh.
# usage: SHELL step.sh HANDOVER_DIR CWD SHELL                          the beginning: step 0 does nothing
#        SHELL -c '. "$1"' PATH step.sh HANDOVER_DIR CWD SHELL N KIND  $0 is the hook's path, as hooks expect
#
# Writes into HANDOVER_DIR: after.N (the environment that step N left, as of `env -0`) and lines of results:
#   done N CODE   step N ended and left after.N
#   lost N CODE   it ended without: exec, or killed
#   all N 0       every step had its turn

[ $# = 6 ] || set -- "$0" "$@" 0 none
__ma2l_step=$1 __ma2l_dir=$2 __ma2l_cwd=$3 __ma2l_shell=$4 __ma2l_number=$5 __ma2l_kind=$6
__ma2l_handed=''
__ma2l_env=$(command -v env) || __ma2l_env=/usr/bin/env # a hook may have lost PATH

# Hands the environment on, and runs what follows. At the end of a shell, whatever ended it; keeps $? for the next trap.
__ma2l_hand_over() {
	__ma2l_code=$?
	[ -z "$__ma2l_handed" ] && [ ! -e "$__ma2l_dir/ended" ] || return "$__ma2l_code"
	__ma2l_handed=1
	{ set +x +v +e +u +a +f; } 2>/dev/null
	[ -n "${LD_PRELOAD+set}" ] || [ ! -s "$__ma2l_dir/preload" ] || : >|"$__ma2l_dir/no-preload"
	if "$__ma2l_env" -0 >|"$__ma2l_dir/after.$__ma2l_number" 2>/dev/null; then
		printf 'done %s %s\n' "$__ma2l_number" "$__ma2l_code" >>"$__ma2l_dir/results"
	else
		printf 'lost %s %s\n' "$__ma2l_number" "$__ma2l_code" >>"$__ma2l_dir/results"
	fi
	if [ "$__ma2l_code" = 0 ] || [ "${MA2L_PRE_START_STRICT:-0}" = 0 ] || [ "$__ma2l_kind" = env ]; then
		__ma2l_go_on
	else
		printf 'all %s 0\n' "$__ma2l_number" >>"$__ma2l_dir/results"
	fi
	return "$__ma2l_code"
}

# Runs the steps after this one; the next usually runs the rest, unless it is lost.
__ma2l_go_on() {
	__ma2l_line=0
	while IFS= read -r __ma2l_text; do
		__ma2l_line=$((__ma2l_line + 1))
		[ "$__ma2l_line" -gt "$__ma2l_number" ] || continue
		# shellcheck disable=SC2016 # the new shell expands it
		"$__ma2l_shell" -c '. "$1"' "${__ma2l_text#* }" "$__ma2l_step" "$__ma2l_dir" "$__ma2l_cwd" "$__ma2l_shell" \
			"$__ma2l_line" "${__ma2l_text%% *}" </dev/null >>"$__ma2l_dir/output" 2>&1
		__ma2l_lost=$?
		! __ma2l_handed_on && [ ! -e "$__ma2l_dir/ended" ] || return 0
		printf 'lost %s %s\n' "$__ma2l_line" "$__ma2l_lost" >>"$__ma2l_dir/results"
	done <"$__ma2l_dir/steps"
	printf 'all %s 0\n' "$__ma2l_line" >>"$__ma2l_dir/results"
}

# Whether the step of __ma2l_line has reported.
__ma2l_handed_on() {
	while read -r __ma2l_outcome __ma2l_reported __ma2l_rest; do
		[ "$__ma2l_reported" != "$__ma2l_line" ] || return 0
	done <"$__ma2l_dir/results"
	return 1
}

# A hook's own EXIT trap would replace ours: join them. Only bash lets a function stand in for `trap`.
if [ -n "${BASH_VERSION:-}" ] && [ "$__ma2l_kind" = source ]; then
	eval 'trap() {
		builtin trap "$@" || return
		[ "$BASHPID" = "$$" ] || return 0
		set -- "$(builtin trap -p EXIT)"
		case $1 in *__ma2l_hand_over*) return 0 ;; esac
		eval "set -- $1"
		builtin trap "__ma2l_hand_over
${3:-}" EXIT
	}'
fi

__ma2l_pip() {
	CDPATH='' cd -- "${0%/*}" || return # wheels are named relative to the file
	__ma2l_python -m pip install --disable-pip-version-check -r "$0"
}

# The user's Python, not the launcher's.
__ma2l_python() {
	if command -v python >/dev/null; then python "$@"; else python3 "$@"; fi
}

CDPATH='' cd -- "$__ma2l_cwd" || :
IFS= read -r LD_PRELOAD <"$__ma2l_dir/preload" || : # a shell's own variable: visible, not exported
[ -n "${LD_PRELOAD:-}" ] || unset LD_PRELOAD
__ma2l_file=$0
[ ! -e "$__ma2l_dir/clean.$__ma2l_number" ] || __ma2l_file=$__ma2l_dir/clean.$__ma2l_number
set --
case $__ma2l_kind in
	none) __ma2l_hand_over ;;
	run) "$0" ;;
	python) __ma2l_python "$0" ;;
	pip) __ma2l_pip ;;
	*)
		trap __ma2l_hand_over EXIT
		# shellcheck source=/dev/null
		. "$__ma2l_file"
		;;
esac
__ma2l_hand_over
