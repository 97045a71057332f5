# bash completion for reformerctl(1)
_reformerctl() {
  local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]} command= word i
  local commands='status stats clients check list show explain query verify forget diff import export
    merge models promote ablation accuracy train eval ablate sweep run freeze reload compact help'
  local global='--json --socket --offline --help --version'
  local filters='--op --dtype --layout --device --cudnn --contains'
  local constraints='--deterministic --no-tensor-core --no-down-convert --no-winograd --max-workspace
    --max-build-us'
  for ((i = 1; i < COMP_CWORD; i++)); do
    word=${COMP_WORDS[i]}
    if [[ $command == run && $word == -- ]]; then
      _command_offset $((i + 1)) 2>/dev/null
      return
    fi
    [[ -z $command && " ${commands//$'\n'/ } " == *" $word "* ]] && command=$word
  done
  case $previous in
    --op) COMPREPLY=($(compgen -W 'fwd dgrad wgrad' -- "$current")); return ;;
    --dtype) COMPREPLY=($(compgen -W 'f32 f64 f16 bf16 i8 u8 i32 i64 e4m3 e5m2' -- "$current")); return ;;
    --layout) COMPREPLY=($(compgen -W 'nchw nhwc strided' -- "$current")); return ;;
    --sort) COMPREPLY=($(compgen -W 'problem uses gain time age' -- "$current")); return ;;
    --mode) COMPREPLY=($(compgen -W 'assist observe replay off' -- "$current")); return ;;
    --block) COMPREPLY=($(compgen -W 'gamma mlp transformer' -- "$current")); return ;;
    --target) COMPREPLY=($(compgen -W 'ratio one-hot softmax' -- "$current")); return ;;
    --offline) COMPREPLY=($(compgen -d -- "$current")); return ;;
    --socket | --out | --html | --data | --model | --freeze) COMPREPLY=($(compgen -f -- "$current")); return ;;
  esac
  local options=
  case $command in
    '') COMPREPLY=($(compgen -W "$commands $global" -- "$current")); return ;;
    list) options="$filters --sort --limit" ;;
    export) options=$filters ;;
    forget) options="$filters --all" ;;
    show) options='--device --cudnn' ;;
    verify) options='--device --cudnn --wait --force' ;;
    explain) options="--device --cudnn $constraints" ;;
    query) options="--device --cudnn --verify $constraints" ;;
    diff | freeze) options='--device --cudnn' ;;
    merge) options=--out ;;
    promote) options='--rollback --history' ;;
    check) options=--acknowledge ;;
    ablation) options='--op --dtype --layout --device --without-tensor-cores --deterministic --since --weighted-by-use --uncorrected --html --watch' ;;
    accuracy) options='--op --dtype --layout --device --without-tensor-cores --deterministic --since --weighted-by-use --uncorrected --csv --jsonl' ;;
    run) options='--mode --freeze --' ;;
    train) options='--data --from-daemon --no-add --device --cudnn --background --max-memory --out --blocks --block --target --sharpness --seed --epochs --threads' ;;
    eval) options='--model --data --unseen-only --without-tensor-cores --deterministic --expected-uses --worst' ;;
    ablate) options='--data --blocks --block --target --sharpness --noise --steps --preset --seeds --epochs
      --threads --held-out --calibrate --html --hold-out-families --shapes --no-calibration' ;;
    help) options=$commands ;;
  esac
  if [[ $current == -* || $command == help ]]; then
    COMPREPLY=($(compgen -W "$options $global" -- "$current"))
  elif [[ $command == import || $command == merge || $command == export || $command == freeze ]]; then
    COMPREPLY=($(compgen -f -- "$current"))
  fi
}
complete -o filenames -F _reformerctl reformerctl
