//! One body, compiled for several instruction sets, chosen when it is called.

/// Wraps a function so that its body is also compiled with AVX-512 and AVX2 enabled, and dispatches at run time.
///
/// The body is ordinary safe code; the attribute only lets the compiler use wider registers for the same operations in
/// the same order, so results do not depend on the machine.
macro_rules! multiversion {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? $body:block) => {
        $(#[$meta])*
        #[expect(unsafe_code, reason = "calls a function whose instruction set was just detected")]
        $vis fn $name($($arg: $ty),*) $(-> $ret)? {
            #[inline(always)]
            fn body($($arg: $ty),*) $(-> $ret)? $body

            #[cfg(all(target_arch = "x86_64", not(miri)))]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
                fn avx512($($arg: $ty),*) $(-> $ret)? { body($($arg),*) }
                #[target_feature(enable = "avx2")]
                fn avx2($($arg: $ty),*) $(-> $ret)? { body($($arg),*) }

                if $crate::multiversion::has_avx512() {
                    // SAFETY: exactly the features that `avx512` enables were detected by `has_avx512`.
                    return unsafe { avx512($($arg),*) };
                }
                if is_x86_feature_detected!("avx2") {
                    // SAFETY: exactly the feature that `avx2` enables was detected above.
                    return unsafe { avx2($($arg),*) };
                }
            }
            body($($arg),*)
        }
    };
}

pub(crate) use multiversion;

/// Whether the widest version will run, whose registers hold more: for the shape of a kernel's tiles, never for the
/// order of its sums.
pub(crate) fn has_avx512() -> bool {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    false
}
