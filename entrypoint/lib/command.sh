# shellcheck disable=SC2034 # its answers are read by ma2l-entrypoint
# What the command is: does it need a hook, does it run per NPU, and which file does it boot?

# usage: ma2l_needs_no_hook COMMAND...
# True where ma2l itself answers and starts nothing.
ma2l_needs_no_hook() {
	[ $# -gt 0 ] || return 0
	[ "${1##*/}" = ma2l ] || return 1
	case ${2:-} in
		'' | -h | --help | --version | help | version | plan) ;;
		ranktable | stop | status | logs | stacks | explain | results | record | upload | collect | config | report | job | manifest) ;;
		*) return 1 ;;
	esac
}

# usage: ma2l_classify COMMAND...
# Sets ma2l_kind: launch (once per NPU) for what trains, once for everything else.
#    ie: launch: python train.py; train.py; bash run.sh; ma2l ANYTHING
#    ie: once: bash; bash -c 'TEXT'; npu-smi info; a platform's own wrapper
ma2l_classify() {
	ma2l_kind=once
	case ${1##*/} in
		ma2l | python* | *.py) ma2l_kind=launch ;;
		*) ma2l_shell_script "$@" && ma2l_kind=launch ;;
	esac
	ma2l_kind=${MA2L_ENTRYPOINT:-$ma2l_kind}
}

# usage: ma2l_shell_script COMMAND...
# True for a shell that runs a script file; sets ma2l_script to it.
ma2l_shell_script() {
	case ${1##*/} in sh | bash | dash | ash | ksh | zsh) ;; *) return 1 ;; esac
	shift
	while [ $# -gt 0 ]; do
		case $1 in
			--) shift && break ;;
			--login | --help | --version | -) return 1 ;;
			--rcfile | --init-file | -o | +o | -O | +O) [ $# -lt 2 ] || shift ;; # these have a value
			--*) ;;
			-*[cils]*) return 1 ;; # -c TEXT, interactive, login, commands from standard input; also in a bundle
			-*o) [ $# -lt 2 ] || shift ;; # -eo pipefail
			[-+]*) ;;
			*) break ;;
		esac
		shift
	done
	ma2l_script=${1:-}
	[ -n "$ma2l_script" ]
}

# usage: ma2l_find_boot_file COMMAND...
# Sets ma2l_boot_dir to the absolute directory of the file that the command boots; empty if it names none.
ma2l_find_boot_file() {
	ma2l_boot_dir='' ma2l_boot=''
	for ma2l_word in "$@"; do
		case $ma2l_word in
			*.py | *.sh) [ ! -f "$ma2l_word" ] || { ma2l_boot=$ma2l_word && break; } ;;
		esac
	done
	[ -n "$ma2l_boot" ] || ! ma2l_shell_script "$@" || ma2l_boot=$ma2l_script # a script without .sh
	[ -f "$ma2l_boot" ] || return 0
	case $ma2l_boot in
		*/*) ma2l_boot_dir=$(CDPATH='' cd -- "${ma2l_boot%/*}/" && pwd) ;;
		*) ma2l_boot_dir=$(pwd) ;;
	esac
}
