/// Defines a type for plugins with certain functions: one method for each, with types for input and output. It can be made of
/// any [`Plugin`](crate::Plugin) that has all of them.
///
/// ```
/// use extism::{Plugin, typed_plugin};
///
/// typed_plugin!(pub Runner {
///     run(&str) -> String;
/// });
///
/// let plugin = Plugin::new(r#"(module (func (export "run")))"#, [], false)?;
/// let mut runner: Runner = plugin.try_into()?;
/// assert_eq!(runner.run("input")?, "");
/// # Ok::<(), extism::Error>(())
/// ```
#[macro_export]
macro_rules! typed_plugin {
    ($vis:vis $name:ident {
        $($function:ident $(< $($lt:tt $(: $bound:path)?),+ >)? ($input:ty) -> $output:ty);* $(;)?
    }) => {
        /// A plugin with certain functions.
        $vis struct $name(pub $crate::Plugin);

        impl ::std::convert::TryFrom<$crate::Plugin> for $name {
            type Error = $crate::Error;

            fn try_from(plugin: $crate::Plugin) -> ::std::result::Result<Self, Self::Error> {
                $(
                    if !plugin.function_exists(stringify!($function)) {
                        let name = stringify!($function);
                        return Err($crate::Error::msg(format!("Invalid function: {name}")));
                    }
                )*
                Ok(Self(plugin))
            }
        }

        impl ::std::convert::From<$name> for $crate::Plugin {
            fn from(plugin: $name) -> Self {
                plugin.0
            }
        }

        impl $name {
            $(
                /// Calls the plugin's function of this name.
                pub fn $function<'a $(, $($lt $(: $bound)?),+ )?>(
                    &'a mut self,
                    input: $input,
                ) -> ::std::result::Result<$output, $crate::Error> {
                    self.0.call(stringify!($function), input)
                }
            )*
        }
    };
}
