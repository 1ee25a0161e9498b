// In place of NVIDIA's header of this name.
#include "narrow.h"
