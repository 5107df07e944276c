# shellcheck disable=SC2154 # variables of ma2l-entrypoint
# Secrets from files, as container secrets are mounted.

# The cloud credentials that ma2l's tools read. MA2L_SECRETS adds names, separated by spaces or commas. It is a list, not
# "everything that ends in _FILE": RANK_TABLE_FILE or AWS_WEB_IDENTITY_TOKEN_FILE mean the file itself.
ma2l_secret_names='
	HUAWEICLOUD_SDK_AK HUAWEICLOUD_SDK_SK HUAWEICLOUD_SDK_SECURITY_TOKEN
	OBS_ACCESS_KEY_ID OBS_SECRET_ACCESS_KEY OBS_SECURITY_TOKEN
	AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN
	PIP_INDEX_URL PIP_EXTRA_INDEX_URL'

# usage: ma2l_read_secrets
# For each name with NAME_FILE set: NAME gets the file's content, NAME_FILE goes. Both set is an error.
ma2l_read_secrets() {
	for ma2l_name in $ma2l_secret_names $(printf '%s' "${MA2L_SECRETS:-}" | tr ',' ' '); do
		case $ma2l_name in
			[!A-Za-z_]* | *[!A-Za-z0-9_]*) ma2l_die 78 "cannot use MA2L_SECRETS: $ma2l_name is no variable's name; correct it" ;;
		esac
		eval "ma2l_file=\${${ma2l_name}_FILE:-}"
		[ -z "$ma2l_file" ] || ma2l_read_secret "$ma2l_name" "$ma2l_file"
	done
}

# usage: ma2l_read_secret NAME FILE
ma2l_read_secret() {
	eval "[ -z \"\${$1:-}\" ]" || ma2l_die 78 "cannot use $1: $1 and ${1}_FILE are both set; unset one of them"
	ma2l_value=$(cat "$2" 2>/dev/null) || ma2l_die 78 "cannot use ${1}_FILE: $2 cannot be read; correct the path or its permissions"
	ma2l_set "$1" "$ma2l_value"
	printf '%s_FILE\000' "$1" >>"$ma2l_dir/unset"
	export "$1=$ma2l_value" # the hook may need it
	unset "${1}_FILE" ma2l_value
}
