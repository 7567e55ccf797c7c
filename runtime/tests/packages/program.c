/* The least that a program does with the library: prints its version, and calls a plugin. */
#include <extism.h>
#include <stdio.h>
#include <string.h>

int main(void) {
  const char plugin_text[] = "(module (func (export \"seven\") (result i32) (i32.const 7)))";
  char *error = NULL;
  ExtismPlugin *plugin = extism_plugin_new((const uint8_t *)plugin_text, strlen(plugin_text), NULL, 0, false, &error);
  if (!plugin) {
    fprintf(stderr, "%s\n", error);
    return 1;
  }
  int32_t result = extism_plugin_call(plugin, "seven", NULL, 0);
  extism_plugin_free(plugin);
  printf("%s %d\n", extism_version(), (int)result);
  return 0;
}
