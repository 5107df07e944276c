# shellcheck disable=SC2154 # variables of ma2l-entrypoint
# What has to happen on this node before the command: a list of steps, one per line, "KIND PATH".
#   env     source a vendor's script; its failure means nothing
#   source  source a hook
#   run     execute a hook
#   python  run a hook with python
#   pip     install a requirements file

# usage: ma2l_list_steps
# Writes $ma2l_dir/steps; sets ma2l_step_count, and ma2l_hooks to what the user should know is run.
ma2l_list_steps() {
	ma2l_hooks=''
	: >"$ma2l_dir/steps"
	ma2l_list_environment
	if [ -n "$ma2l_boot_dir" ] && [ -f "$ma2l_boot_dir/pip-requirements.txt" ]; then
		ma2l_add_hook pip "$ma2l_boot_dir/pip-requirements.txt"
	fi
	ma2l_list_hooks
}

# usage: ma2l_add_step KIND PATH
ma2l_add_step() {
	printf '%s %s\n' "$1" "$2" >>"$ma2l_dir/steps"
	ma2l_step_count=$((ma2l_step_count + 1))
}

# usage: ma2l_add_hook KIND PATH
# A step of the user's. One that has run already, under an entrypoint around this one, has left its exports.
ma2l_add_hook() {
	case $2 in
		*"
"*) ma2l_warn "ignoring $2: its path holds a line break" && return ;;
	esac
	case ":${MA2L_PRE_START_DONE:-}:" in *":$2:"*) return ;; esac
	ma2l_hooks="${ma2l_hooks:+$ma2l_hooks:}$2"
	ma2l_add_step "$1" "$2"
	if [ "$1" = source ] && grep -q "$ma2l_cr\$" "$2" 2>/dev/null; then
		ma2l_unix_copy "$2" "$ma2l_dir/clean.$ma2l_step_count"
	fi
}
ma2l_cr=$(printf '\r')

# usage: ma2l_unix_copy FROM TO
# Line ends without CR, which would become part of every value. A copy lies elsewhere, so where the script asks bash for
# its path it is told $0, which is the original's.
ma2l_unix_copy() {
	sed -e "s/$ma2l_cr\$//" -e 's/BASH_SOURCE\[0\]/0/g' -e 's/BASH_SOURCE/0/g' "$1" >"$2"
}

# usage: ma2l_list_hooks
# The first place that has a hook wins.
ma2l_list_hooks() {
	if [ -n "${MA2L_PRE_START:-}" ]; then
		[ -e "$MA2L_PRE_START" ] || ma2l_die 78 "cannot run MA2L_PRE_START=$MA2L_PRE_START: no such file or directory; correct or unset it"
		ma2l_add_named "$(ma2l_absolute "$MA2L_PRE_START")"
		return
	fi
	for ma2l_place in ${ma2l_boot_dir:+"$ma2l_boot_dir"} ${MA_JOB_DIR:+"$MA_JOB_DIR"/*/} "$(pwd)"; do
		for ma2l_file in "${ma2l_place%/}/ma-pre-start.sh" "${ma2l_place%/}/ma-pre-start.py"; do
			[ ! -f "$ma2l_file" ] || { ma2l_add_file "$ma2l_file" && return; }
		done
	done
	ma2l_add_directory "${ma2l_home%/*}/pre-start.d"
}

# usage: ma2l_absolute PATH
ma2l_absolute() {
	case $1 in /*) printf '%s' "$1" ;; *) printf '%s/%s' "$(pwd)" "$1" ;; esac
}

# usage: ma2l_add_named PATH
# What the user named is run whatever it is called: a file without a telling name is a shell script.
ma2l_add_named() {
	if [ -d "$1" ]; then
		ma2l_add_directory "$1"
	elif [ "${1%.py}" != "$1" ]; then
		ma2l_add_hook python "$1"
	else
		ma2l_add_hook source "$1"
	fi
}

# usage: ma2l_add_directory DIRECTORY
# All of it in the order of versions: 2-x before 10-x.
ma2l_add_directory() {
	[ -d "$1" ] || return 0
	# shellcheck disable=SC2012 # names hold no line break here, and busybox find has no -printf
	ls "$1" | sort -V >"$ma2l_dir/listing"
	while IFS= read -r ma2l_file; do
		ma2l_add_file "${1%/}/$ma2l_file"
	done <"$ma2l_dir/listing"
}

# usage: ma2l_add_file PATH
ma2l_add_file() {
	[ -f "$1" ] || return 0
	case $1 in
		*.sh | *.envsh) ma2l_add_hook source "$1" ;;
		*.py) ma2l_add_hook python "$1" ;;
		*) if [ -x "$1" ]; then ma2l_add_hook run "$1"; else ma2l_warn "ignoring $1: neither *.sh, *.envsh, *.py nor executable"; fi ;;
	esac
}

# usage: ma2l_list_environment
# What a login shell would have: CANN's variables (public documents of CANN name these places; the later wins), the
# driver's libraries, the conda environment that ModelArts' images announce.
ma2l_list_environment() {
	for ma2l_root in "${MA2L_ASCEND_DIR:-/usr/local/Ascend}" ${HOME:+"$HOME/Ascend"}; do
		for ma2l_product in nnae ascend-toolkit cann tfplugin nnal/atb; do
			ma2l_file=$ma2l_root/$ma2l_product/set_env.sh
			[ ! -r "$ma2l_file" ] || ma2l_is_active "$ma2l_root/$ma2l_product" || ma2l_add_step env "$ma2l_file"
		done
	done
	[ ! -d "${MA2L_ASCEND_DIR:-/usr/local/Ascend}/driver/lib64" ] || ma2l_add_step env "$ma2l_home/steps/driver.sh"
	if [ -n "${ANACONDA_DIR:-}" ] && [ -n "${DEFAULT_CONDA_ENV_NAME:-}" ] && [ -d "$ANACONDA_DIR" ]; then
		ma2l_add_step env "$ma2l_home/steps/conda.sh"
	fi
}

# usage: ma2l_is_active DIRECTORY
# Whether libraries below it, by either of its names, are on the library path already.
ma2l_is_active() {
	case ":${LD_LIBRARY_PATH:-}:" in
		*":$1/"* | *":$(readlink -f "$1")/"*) return 0 ;;
	esac
	return 1
}
