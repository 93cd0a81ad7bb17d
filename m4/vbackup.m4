# Our few switches.  Each adds to VB_CFLAGS / VB_LDFLAGS, which Makefile.am puts into AM_CFLAGS / AM_LDFLAGS.

# VB_TRY_CFLAGS(FLAGS): adds each flag that the compiler accepts.  A shell loop: the flags are data, not macros.
AC_DEFUN([VB_TRY_CFLAGS], [
  for vb_flag in m4_normalize([$1]); do
    AC_MSG_CHECKING([whether $CC accepts $vb_flag])
    vb_save=$CFLAGS; CFLAGS="$CFLAGS -Werror $vb_flag"
    AC_COMPILE_IFELSE([AC_LANG_PROGRAM([], [])],
      [AC_MSG_RESULT([yes]); VB_CFLAGS="$VB_CFLAGS $vb_flag"], [AC_MSG_RESULT([no])])
    CFLAGS=$vb_save
  done])

AC_DEFUN([VB_WARNINGS], [
  VB_CFLAGS="-std=gnu11"; VB_LDFLAGS=""
  VB_TRY_CFLAGS([-Wall -Wextra -Wshadow -Wconversion -Wsign-conversion -Wstrict-prototypes
    -Wmissing-prototypes -Wpointer-arith -Wundef -Wformat=2 -Wvla -Wwrite-strings])
  AC_ARG_ENABLE([werror], [AS_HELP_STRING([--enable-werror], [treat compiler warnings as errors])])
  AS_IF([test "x$enable_werror" = xyes], [VB_CFLAGS="$VB_CFLAGS -Werror"])
  AC_SUBST([VB_CFLAGS]) AC_SUBST([VB_LDFLAGS])])

AC_DEFUN([VB_SANITIZERS], [
  AC_ARG_ENABLE([sanitizers], [AS_HELP_STRING([--enable-sanitizers], [build with ASan and UBSan])])
  AC_ARG_ENABLE([fuzzing], [AS_HELP_STRING([--enable-fuzzing],
    [make the fuzz targets libFuzzer programs (needs clang; implies --enable-sanitizers)])])
  AS_IF([test "x$enable_fuzzing" = xyes], [
    enable_sanitizers=yes
    VB_CFLAGS="$VB_CFLAGS -fsanitize=fuzzer-no-link"
    vb_save=$CFLAGS; CFLAGS="$CFLAGS -fsanitize=fuzzer-no-link"
    AC_COMPILE_IFELSE([AC_LANG_PROGRAM([], [])], [],
      [AC_MSG_ERROR([$CC has no libFuzzer: run configure with CC=clang])])
    CFLAGS=$vb_save])
  AS_IF([test "x$enable_sanitizers" = xyes], [
    VB_CFLAGS="$VB_CFLAGS -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer"
    VB_LDFLAGS="$VB_LDFLAGS -fsanitize=address,undefined"
    AC_DEFINE([VB_SANITIZED], [1], [built with sanitizers])])
  AC_SUBST([enable_sanitizers])
  AM_CONDITIONAL([SANITIZED], [test "x$enable_sanitizers" = xyes])
  AM_CONDITIONAL([FUZZING], [test "x$enable_fuzzing" = xyes])])

AC_DEFUN([VB_HARDENING], [
  AC_ARG_ENABLE([hardening], [AS_HELP_STRING([--disable-hardening], [leave out the hardening flags])])
  AS_IF([test "x$enable_hardening" != xno], [
    VB_TRY_CFLAGS([-fstack-protector-strong -fstack-clash-protection -fcf-protection])
    AS_IF([test "x$enable_sanitizers" != xyes], [VB_CPPFLAGS="-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2"])
    VB_LDFLAGS="$VB_LDFLAGS -Wl,-z,relro -Wl,-z,now"])
  AC_SUBST([VB_CPPFLAGS])])

AC_DEFUN([VB_ARG_FAULT_POINTS], [
  AC_ARG_ENABLE([fault-points], [AS_HELP_STRING([--enable-fault-points],
    [let VBACKUP_TEST_KILL and friends stop a process at a named point (tests only)])])
  AS_IF([test "x$enable_fault_points" = xyes], [AC_DEFINE([VB_FAULT_POINTS], [1], [fault points compiled in])])
  AM_CONDITIONAL([FAULT_POINTS], [test "x$enable_fault_points" = xyes])])
