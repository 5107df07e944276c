#!/bin/sh
# Pre-start hook for Ascend training: brings packages that lie beside it into place, once per node, and sets log levels.
# Works beside anybody's boot file, executed or sourced by any POSIX shell; needs nothing of ma2l.
#
# Packages: $MA2L_UPGRADE_DIR, else run/ beside this file, else run/ beside the boot file ($MA2L_BOOT_DIR). In this order:
#   protobuf*.whl  mindspore*.whl  torch_npu*.whl     pip of the `python` on PATH
#   Ascend-cann-{toolkit,nnae,nnrt}_*.run, kernels or ops, nnal, tfplugin     a toolkit upgrade removes the kernels
# What is in place is skipped; MA2L_UPGRADE_FORCE=1 installs it again.
# CANN goes where it is: $MA2L_ASCEND_DIR, else /usr/local/Ascend, else $HOME/Ascend where that cannot be written.
#
# Log levels, by number or by name; the values after := are defaults:
: "${GLOG_v:=3}" "${ASCEND_GLOBAL_LOG_LEVEL:=3}" "${ASCEND_GLOBAL_EVENT_ENABLE:=0}" "${ASCEND_SLOG_PRINT_TO_STDOUT:=0}"

ma_pre_main() {
	ma_pre_level GLOG_v DEBUG=0 INFO=1 WARNING=2 ERROR=3 CRITICAL=4 || return
	ma_pre_level ASCEND_GLOBAL_LOG_LEVEL DEBUG=0 INFO=1 WARNING=2 ERROR=3 NULL=4 || return
	ma_pre_level ASCEND_GLOBAL_EVENT_ENABLE OFF=0 ON=1 || return
	ma_pre_level ASCEND_SLOG_PRINT_TO_STDOUT OFF=0 ON=1 || return
	ma_pre_find_packages || return
	[ -n "$ma_pre_packages" ] || return 0
	ma_pre_choose_place
	ma_pre_upgrade_alone || return
	ma_pre_new_environment
}

# usage: ma_pre_say TEXT...
ma_pre_say() { printf 'ma-pre-start: %s\n' "$*"; }

# usage: ma_pre_level VARIABLE NAME=NUMBER...
# Exports the variable as a number, which is all that the libraries understand.
ma_pre_level() {
	ma_pre_name=$1 ma_pre_given=''
	eval "ma_pre_given=\$$1"
	shift
	for ma_pre_pair in "$@"; do
		case $(printf '%s' "$ma_pre_given" | tr '[:lower:]' '[:upper:]') in
			"${ma_pre_pair%=*}" | "${ma_pre_pair#*=}")
				export "$ma_pre_name=${ma_pre_pair#*=}"
				return 0
				;;
		esac
	done
	ma_pre_say "error: cannot use $ma_pre_name=$ma_pre_given: no such level; write one of $*" >&2
	return 78
}

# usage: ma_pre_find_packages
# Sets ma_pre_packages to the directory of packages; empty where there is none.
ma_pre_find_packages() {
	ma_pre_packages=''
	if [ -n "${MA2L_UPGRADE_DIR:-}" ]; then
		if [ ! -d "$MA2L_UPGRADE_DIR" ]; then
			ma_pre_say "error: cannot use MA2L_UPGRADE_DIR=$MA2L_UPGRADE_DIR: no such directory; correct or unset it" >&2
			return 78
		fi
		ma_pre_packages=$MA2L_UPGRADE_DIR
		return 0
	fi
	for ma_pre_dir in "$(dirname "$ma_pre_self")" "${MA2L_BOOT_DIR:-}"; do
		if [ -n "$ma_pre_dir" ] && [ -d "$ma_pre_dir/run" ]; then
			ma_pre_packages=$ma_pre_dir/run
			return 0
		fi
	done
}

# usage: ma_pre_choose_place
# Sets ma_pre_root to where CANN is or will be, and ma_pre_sudo to what it takes to write there: nothing, or sudo.
ma_pre_choose_place() {
	ma_pre_sudo=''
	ma_pre_root=${MA2L_ASCEND_DIR:-/usr/local/Ascend}
	ma_pre_nearest=$ma_pre_root
	while [ ! -e "$ma_pre_nearest" ]; do ma_pre_nearest=$(dirname "$ma_pre_nearest"); done
	if [ "$(id -u)" = 0 ] || [ -w "$ma_pre_nearest" ]; then
		return
	elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then # -n: nobody is there to type a password
		ma_pre_sudo='sudo -n'
	elif [ -z "${MA2L_ASCEND_DIR:-}" ]; then
		ma_pre_root=$HOME/Ascend # where CANN's installer puts it for a user who is not root
	fi
}

# usage: ma_pre_upgrade_alone
# One process on this node at a time: ranks may all come here at once, and the later ones find everything in place.
ma_pre_upgrade_alone() {
	if ! command -v flock >/dev/null; then
		ma_pre_say 'warning: there is no flock; several ranks at once would get into each other' >&2
		ma_pre_upgrade
		return
	fi
	(
		flock 9
		ma_pre_upgrade 9>&-
	) 9>>"${TMPDIR:-/tmp}/ma-pre-start.$(id -u).lock"
}

# usage: ma_pre_upgrade
# Stops at the first failure: half of a set of packages that belong together is worse than none.
ma_pre_upgrade() {
	for ma_pre_file in "$ma_pre_packages"/protobuf*.whl "$ma_pre_packages"/mindspore*.whl "$ma_pre_packages"/torch_npu*.whl; do
		[ ! -f "$ma_pre_file" ] || ma_pre_wheel "$ma_pre_file" || return
	done
	for ma_pre_file in "$ma_pre_packages"/Ascend-cann-toolkit_*.run "$ma_pre_packages"/Ascend-cann-nnae_*.run \
		"$ma_pre_packages"/Ascend-cann-nnrt_*.run "$ma_pre_packages"/Ascend-cann-kernels-*.run \
		"$ma_pre_packages"/Ascend-cann-*-ops_*.run "$ma_pre_packages"/Ascend-cann-nnal_*.run \
		"$ma_pre_packages"/Ascend-cann-tfplugin_*.run; do
		[ ! -f "$ma_pre_file" ] || ma_pre_cann "$ma_pre_file" || return
	done
}

# usage: ma_pre_step WHAT COMMAND...
# Runs one step and says how it ended and how long it took.
ma_pre_step() {
	ma_pre_what=$1
	shift
	ma_pre_began=$(date +%s)
	ma_pre_code=0
	"$@" </dev/null || ma_pre_code=$?
	ma_pre_say "$ma_pre_what: code $ma_pre_code, $(($(date +%s) - ma_pre_began)) s"
	return "$ma_pre_code"
}

# usage: ma_pre_in_place MARKER FILE HAS WANTED
# True if what is installed is what the package brings: the same version, no upgrade interrupted half-way, and not
# another build of that version.
ma_pre_in_place() {
	[ "${MA2L_UPGRADE_FORCE:-0}" != 1 ] && [ "$3" = "$4" ] && [ ! -e "$1.part" ] || return 1
	[ ! -e "$1" ] || [ "$(cat "$1")" = "$4 $(cksum <"$2")" ]
}

# usage: ma_pre_mark SUDO MARKER VERSION FILE COMMAND...
# Runs the command. The marker lies beside what it installs: MARKER.part while it runs, MARKER once it has ended well.
# shellcheck disable=SC2317 # called by ma_pre_step
ma_pre_mark() {
	ma_pre_as=$1 ma_pre_mark_file=$2 ma_pre_mark_text="$3 $(cksum <"$4")"
	shift 4
	# shellcheck disable=SC2086 # empty, or sudo with its option
	if $ma_pre_as mkdir -p "$(dirname "$ma_pre_mark_file")" &&
		printf '%s\n' "$ma_pre_mark_text" | $ma_pre_as tee "$ma_pre_mark_file.part" >/dev/null; then
		"$@" && $ma_pre_as mv "$ma_pre_mark_file.part" "$ma_pre_mark_file"
	else
		"$@"
	fi
}

# usage: ma_pre_python ARGUMENT...
ma_pre_python() {
	if command -v python >/dev/null; then python "$@"; else python3 "$@"; fi
}

# usage: ma_pre_wheel FILE
#    ie: ma_pre_wheel run/mindspore-2.3.0-cp39-cp39-linux_aarch64.whl
ma_pre_wheel() {
	ma_pre_base=${1##*/}
	ma_pre_dist=${ma_pre_base%%-*}
	ma_pre_version=${ma_pre_base#*-}
	ma_pre_version=${ma_pre_version%%-*}
	ma_pre_found=$(
		ma_pre_python - "$ma_pre_dist" <<'PYTHON'
import sys
sys.path.pop(0)  # the working directory may hold modules of any name
import sysconfig
try:
    from importlib.metadata import version
except ImportError:  # Python 3.7
    from pkg_resources import get_distribution
    def version(name):
        return get_distribution(name).version
try:
    found = version(sys.argv[1]).replace("-", "_")
except Exception:
    found = "nothing"
print(found, sysconfig.get_path("purelib"))
PYTHON
	) || return
	ma_pre_site=${ma_pre_found#* }
	[ -w "$ma_pre_site" ] || ma_pre_site=$HOME/.local # pip installs for the user then
	ma_pre_marker=$ma_pre_site/.ma-pre-start.$ma_pre_dist
	if ma_pre_in_place "$ma_pre_marker" "$1" "${ma_pre_found%% *}" "$ma_pre_version"; then
		ma_pre_say "$ma_pre_dist $ma_pre_version is in place"
		return 0
	fi
	# The same version again: another build of it. pip would keep the old one, or its dependencies would be done anew.
	set -- "$1" "${ma_pre_found%% *}"
	if [ "$2" = "$ma_pre_version" ]; then set -- "$1" --force-reinstall --no-deps; else set -- "$1"; fi
	ma_pre_step "installed $ma_pre_base" ma_pre_mark '' "$ma_pre_marker" "$ma_pre_version" "$1" \
		ma_pre_python -m pip install --disable-pip-version-check "$@"
}

# usage: ma_pre_cann FILE
#    ie: ma_pre_cann run/Ascend-cann-nnae_8.0.0_linux-aarch64.run
ma_pre_cann() {
	ma_pre_base=${1##*/}
	ma_pre_product=${ma_pre_base#Ascend-cann-}
	ma_pre_version=${ma_pre_product#*_}
	ma_pre_version=${ma_pre_version%%_linux*}
	ma_pre_product=${ma_pre_product%%_*}
	ma_pre_has=$(ma_pre_cann_version)
	ma_pre_marker=$ma_pre_root/.ma-pre-start.$ma_pre_product
	if ma_pre_in_place "$ma_pre_marker" "$1" "$ma_pre_has" "$ma_pre_version"; then
		ma_pre_say "CANN $ma_pre_product $ma_pre_version is in place"
		return 0
	fi
	if [ "$ma_pre_product" = toolkit ]; then # its installer removes the kernels
		# shellcheck disable=SC2086 # empty, or sudo with its option
		$ma_pre_sudo rm -f "$ma_pre_root"/.ma-pre-start.kernels-* "$ma_pre_root"/.ma-pre-start.*-ops
	fi
	ma_pre_installer=$1
	[ -x "$1" ] || chmod u+x "$1" 2>/dev/null || set -- sh "$1" # object storage keeps no mode bits
	ma_pre_step "checked $ma_pre_base" "$@" --check || return
	if [ -n "$ma_pre_has" ]; then set -- "$@" --upgrade --quiet; else set -- "$@" --install --quiet; fi
	[ -z "${MA2L_ASCEND_DIR:-}" ] || set -- "$@" --install-path="$MA2L_ASCEND_DIR"
	# shellcheck disable=SC2086 # empty, or sudo with its option
	ma_pre_step "installed $ma_pre_base" ma_pre_mark "$ma_pre_sudo" "$ma_pre_marker" "$ma_pre_version" "$ma_pre_installer" $ma_pre_sudo "$@"
}

# usage: ma_pre_cann_version
# Version of ma_pre_product that CANN's own record names; empty if it is not installed. For a product without such a
# record (kernels) our marker must do.
ma_pre_cann_version() {
	case $ma_pre_product in
		toolkit) set -- "$ma_pre_root"/ascend-toolkit/latest/*-linux/ascend_toolkit_install.info "$ma_pre_root"/cann/*-linux/ascend_toolkit_install.info ;;
		nnae | nnrt) set -- "$ma_pre_root/$ma_pre_product"/latest/*-linux/ascend_"$ma_pre_product"_install.info "$ma_pre_root/$ma_pre_product/latest/ascend_${ma_pre_product}_install.info" ;;
		*)
			[ ! -r "$ma_pre_root/.ma-pre-start.$ma_pre_product" ] || cut -d ' ' -f 1 "$ma_pre_root/.ma-pre-start.$ma_pre_product"
			return
			;;
	esac
	for ma_pre_record in "$@"; do
		[ ! -r "$ma_pre_record" ] || { sed -n 's/^version=//p' "$ma_pre_record" | head -n 1 && return; }
	done
}

# usage: ma_pre_new_environment
# The variables of what has just been installed, over those of what was there before.
ma_pre_new_environment() {
	for ma_pre_script in nnae ascend-toolkit cann nnal/atb tfplugin; do
		ma_pre_script=$ma_pre_root/$ma_pre_script/set_env.sh
		# Tried in a subshell first: in some shells an error in a sourced file is the end.
		# shellcheck source=/dev/null
		[ ! -r "$ma_pre_script" ] || ! (. "$ma_pre_script") >/dev/null 2>&1 || . "$ma_pre_script"
	done
}

# shellcheck disable=SC3028,SC2128 # where there is no BASH_SOURCE, $0 is all there is
ma_pre_self=${BASH_SOURCE:-$0}
ma_pre_status=0
ma_pre_main || ma_pre_status=$?

# Sourced, this leaves nothing but the variables it exported, and its code either way.
unset -f ma_pre_main ma_pre_say ma_pre_level ma_pre_find_packages ma_pre_choose_place ma_pre_upgrade_alone ma_pre_upgrade \
	ma_pre_step ma_pre_in_place ma_pre_mark ma_pre_python ma_pre_wheel ma_pre_cann ma_pre_cann_version ma_pre_new_environment
unset ma_pre_self ma_pre_name ma_pre_given ma_pre_pair ma_pre_packages ma_pre_dir ma_pre_sudo ma_pre_root ma_pre_nearest \
	ma_pre_script
eval "unset ma_pre_status; (exit $ma_pre_status)"
