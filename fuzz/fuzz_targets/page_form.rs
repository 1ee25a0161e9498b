//! What a browser sends of a page's form: any endpoint's form shows it again, with what is wrong beside its field.
#![cfg_attr(fuzzing, no_main)]

scumble_fuzz::target!(|bytes| scumble_server::fuzz::page_form(bytes));
