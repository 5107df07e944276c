# Puts the NPU driver's libraries (libascend_hal.so) on the library path, unless they are.
__ma2l_libraries=${MA2L_ASCEND_DIR:-/usr/local/Ascend}/driver/lib64
for __ma2l_library in "$__ma2l_libraries/driver" "$__ma2l_libraries/common"; do
	case ":${LD_LIBRARY_PATH:-}:" in
		*":$__ma2l_library:"*) ;;
		*) [ ! -d "$__ma2l_library" ] || export LD_LIBRARY_PATH="$__ma2l_library${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" ;;
	esac
done
