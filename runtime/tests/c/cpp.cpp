// The header is one for C++, too.
#include "extism.h"

int main() {
  return extism_version()[0] == '1' && extism_plugin_error(nullptr) == nullptr ? EXTISM_SUCCESS : 1;
}
