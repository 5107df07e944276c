# Activates the conda environment that ModelArts' images announce; a boot command runs in no login shell.
if [ "$DEFAULT_CONDA_ENV_NAME" = base ]; then
	__ma2l_prefix=$ANACONDA_DIR
else
	__ma2l_prefix=$ANACONDA_DIR/envs/$DEFAULT_CONDA_ENV_NAME
fi
if [ "${CONDA_PREFIX:-}" != "$__ma2l_prefix" ]; then
	if [ -r "$ANACONDA_DIR/etc/profile.d/conda.sh" ]; then
		# shellcheck source=/dev/null
		. "$ANACONDA_DIR/etc/profile.d/conda.sh"
		conda activate "$DEFAULT_CONDA_ENV_NAME"
	fi
	if [ "${CONDA_PREFIX:-}" != "$__ma2l_prefix" ] && [ -d "$__ma2l_prefix/bin" ]; then # no conda.sh, or a broken one
		export PATH="$__ma2l_prefix/bin:$PATH" CONDA_PREFIX="$__ma2l_prefix" CONDA_DEFAULT_ENV="$DEFAULT_CONDA_ENV_NAME"
	fi
fi
