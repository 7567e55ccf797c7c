// As programs in C++ included the header of that time.
extern "C" {
#include "extism.h"
}

int main() {
  ExtismContext *context = extism_context_new();
  const bool failed = extism_plugin_new(context, nullptr, 0, nullptr, 0, false) == -1 && extism_error(context, -1) != nullptr;
  extism_context_free(context);
  return failed && extism_version()[0] == '0' ? 0 : 1;
}
