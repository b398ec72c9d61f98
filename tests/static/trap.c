/* Stands in for the host's NSS modules: whoever loads it is killed. Needs no libc. */
__attribute__((constructor)) static void trap(void)
{
    __builtin_trap();
}
