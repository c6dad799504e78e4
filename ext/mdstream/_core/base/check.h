/* MDS_CHECK(condition): an invariant. The debug and asan builds abort where it does not hold; release does not evaluate it. */
#ifndef MDSTREAM_CHECK_H
#define MDSTREAM_CHECK_H

#include <assert.h>

#ifndef NDEBUG
#define MDS_CHECK(condition) assert(condition)
#else
#define MDS_CHECK(condition) ((void)(0 && (condition)))
#endif

#endif
