// FRESHET_MULTIVERSION in front of a function: it is compiled for several instruction sets and the dynamic linker
// chooses one for the machine. Left out under the sanitizers, whose runtime is not up when that choice is made.
#pragma once

#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define FRESHET_MULTIVERSION __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define FRESHET_MULTIVERSION
#endif
