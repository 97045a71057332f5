# fish completion for reformerctl(1)
complete -c reformerctl -f
complete -c reformerctl -l json -d 'JSON instead of tables'
complete -c reformerctl -l socket -r -F -d 'The daemon\'s socket'
complete -c reformerctl -l offline -r -F -d 'Read a stopped daemon\'s database'
complete -c reformerctl -l version -d 'Print the version'
complete -c reformerctl -n __fish_use_subcommand -a status -d 'What the daemon holds and is doing'
complete -c reformerctl -n __fish_use_subcommand -a stats -d 'Counters and latencies since the daemon started'
complete -c reformerctl -n __fish_use_subcommand -a clients -d 'The connected applications'
complete -c reformerctl -n __fish_use_subcommand -a check -d 'Exit code 5 and a line for each alarm'
complete -c reformerctl -n __fish_use_subcommand -a list -d 'The measured problems'
complete -c reformerctl -n __fish_use_subcommand -a show -d 'Every measured candidate of one problem'
complete -c reformerctl -n __fish_use_subcommand -a explain -d 'What would be answered, why, and what was ruled out'
complete -c reformerctl -n __fish_use_subcommand -a query -d 'Ask as an application would'
complete -c reformerctl -n __fish_use_subcommand -a verify -d 'Have a problem measured'
complete -c reformerctl -n __fish_use_subcommand -a forget -d 'Remove measurements'
complete -c reformerctl -n __fish_use_subcommand -a diff -d 'Best times of two cuDNN versions'
complete -c reformerctl -n __fish_use_subcommand -a import -d 'Store measurement files'
complete -c reformerctl -n __fish_use_subcommand -a export -d 'Write measurements to a file'
complete -c reformerctl -n __fish_use_subcommand -a merge -d 'Join measurement files'
complete -c reformerctl -n __fish_use_subcommand -a models -d 'The loaded models'
complete -c reformerctl -n __fish_use_subcommand -a promote -d 'Make a model the champion'
complete -c reformerctl -n __fish_use_subcommand -a ablation -d 'How right every model was'
complete -c reformerctl -n __fish_use_subcommand -a accuracy -d 'The accuracy log'
complete -c reformerctl -n __fish_use_subcommand -a train -d 'Train a model'
complete -c reformerctl -n __fish_use_subcommand -a eval -d 'Evaluate a model file'
complete -c reformerctl -n __fish_use_subcommand -a ablate -d 'Train and compare variants'
complete -c reformerctl -n __fish_use_subcommand -a sweep -d 'Measure a list of problems without a daemon'
complete -c reformerctl -n __fish_use_subcommand -a run -d 'Run a command under the cuDNN shim'
complete -c reformerctl -n __fish_use_subcommand -a freeze -d 'Write every measured answer to a file'
complete -c reformerctl -n __fish_use_subcommand -a reload -d 'Read configuration and models again'
complete -c reformerctl -n __fish_use_subcommand -a compact -d 'Rewrite the database'
complete -c reformerctl -n __fish_use_subcommand -a help -d 'Explain a command'
for command in list export forget ablation accuracy
    complete -c reformerctl -n "__fish_seen_subcommand_from $command" -l op -x -a 'fwd dgrad wgrad'
    complete -c reformerctl -n "__fish_seen_subcommand_from $command" -l dtype -x -a 'f32 f64 f16 bf16 i8 u8 i32 i64 e4m3 e5m2'
    complete -c reformerctl -n "__fish_seen_subcommand_from $command" -l layout -x -a 'nchw nhwc strided'
end
complete -c reformerctl -n '__fish_seen_subcommand_from list' -l sort -x -a 'problem uses gain time age'
complete -c reformerctl -n '__fish_seen_subcommand_from run' -l mode -x -a 'assist observe replay off'
complete -c reformerctl -n '__fish_seen_subcommand_from import export merge freeze' -F
for option in data html hold-out-families shapes
    complete -c reformerctl -n '__fish_seen_subcommand_from ablate' -l $option -r -F
end
for option in blocks sharpness noise seeds epochs threads held-out
    complete -c reformerctl -n '__fish_seen_subcommand_from ablate' -l $option -x
end
complete -c reformerctl -n '__fish_seen_subcommand_from ablate' -l target -x -a 'ratio one-hot softmax'
complete -c reformerctl -n '__fish_seen_subcommand_from ablate' -l block -x -a 'gamma mlp transformer'
complete -c reformerctl -n '__fish_seen_subcommand_from ablate' -l preset -x -a 'paper default'
complete -c reformerctl -n '__fish_seen_subcommand_from ablate' -l steps
complete -c reformerctl -n '__fish_seen_subcommand_from ablate' -l calibrate
complete -c reformerctl -n '__fish_seen_subcommand_from ablate' -l no-calibration
